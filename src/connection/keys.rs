//! The keys of a configuration file: the long names of the options about the registry.

use std::path::Path;

use clap::ValueEnum;

use super::access::Secret;
use super::options::{Region, RegistryOptions};

/// A key, and what its value does.
pub(super) struct FileKey {
    /// The long name of the option.
    pub(super) name: &'static str,
    /// The id of the option.
    pub(super) option: &'static str,
    /// The value may be an array.
    pub(super) is_list: bool,
    pub(super) is_set: fn(&RegistryOptions) -> bool,
    /// Gives the option a value. The path is the directory of the file, to which names of files are relative.
    pub(super) set: fn(&mut RegistryOptions, &str, &Path) -> Result<(), &'static str>,
}

/// Makes a key of a field.
macro_rules! key {
    ($name:literal, $field:ident, |$options:ident, $value:ident, $folder:ident| $set:expr) => {
        FileKey {
            name: $name,
            option: stringify!($field),
            is_list: false,
            is_set: |options| options.$field.is_some(),
            set: |$options, $value, $folder| $set,
        }
    };
    (file $name:literal, $field:ident) => {
        key!($name, $field, |options, value, folder| {
            options.$field = Some(folder.join(value).into());
            Ok(())
        })
    };
    (text $name:literal, $field:ident) => {
        key!($name, $field, |options, value, _folder| {
            options.$field = Some(value.to_owned());
            Ok(())
        })
    };
}

pub(super) const KEYS: [FileKey; 9] = [
    FileKey {
        name: "registry-url",
        option: "registry_url",
        is_list: true,
        is_set: |options| !options.registry_url.is_empty(),
        set: |options, value, _folder| {
            options.registry_url.push(value.to_owned());
            Ok(())
        },
    },
    key!(text "auth-url", auth_url),
    key!("region", region, |options, value, _folder| {
        options.region = Some(Region::from_str(value, true).map_err(|_| "is not one of us, uk")?);
        Ok(())
    }),
    key!(text "username", username),
    FileKey {
        name: "api-key",
        option: "api_key",
        is_list: false,
        is_set: |options| options.api_key.is_some() || options.key.is_some(),
        set: |options, value, _folder| {
            options.key = Some(Secret::new(value.to_owned().into()));
            Ok(())
        },
    },
    key!(file "api-key-file", api_key_file),
    key!(file "ca-file", ca_file),
    key!(file "client-cert", client_cert),
    key!(file "client-key", client_key),
];

impl RegistryOptions {
    /// Returns whether an option has a value, by its id.
    pub(super) fn is_set(&self, option: &str) -> bool {
        KEYS.iter().any(|key| key.option == option && (key.is_set)(self))
    }
}

#[cfg(test)]
mod tests {
    use clap::Args;

    use super::*;

    #[test]
    fn keys_are_the_long_names_of_the_options() {
        let command = RegistryOptions::augment_args(clap::Command::new("test"));
        let options = command.get_arguments().map(|option| (option.get_long().unwrap(), option.get_id().as_str()));
        let keys = KEYS.iter().map(|key| (key.name, key.option));
        assert_eq!(options.collect::<Vec<_>>(), keys.collect::<Vec<_>>());
    }

    #[test]
    fn every_key_sets_its_own_option() {
        for key in &KEYS {
            let mut options = RegistryOptions::default();
            (key.set)(&mut options, if key.name == "region" { "UK" } else { "x" }, Path::new("/etc")).unwrap();
            for other in &KEYS {
                assert_eq!((other.is_set)(&options), other.name == key.name, "{} {}", key.name, other.name);
            }
        }
    }
}
