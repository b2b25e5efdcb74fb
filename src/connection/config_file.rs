//! Configuration files (TOML), for what neither the command line nor a variable says.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow, bail};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
use nix::unistd::geteuid;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

use super::keys::{FileKey, KEYS};
use super::options::RegistryOptions;
use super::origins::Origins;
use super::places::{CONFIG_VARIABLE, Place, Role, places};
use crate::files;

/// In bytes.
const LARGEST: u64 = 64 * 1024;
/// How long the file system may take to read a file.
const FILE_SYSTEM_LIMIT: Duration = Duration::from_secs(2);

/// The files of this process.
#[derive(Default)]
pub struct ConfigFiles {
    /// Those that exist, in the order in which they count.
    pub files: Vec<ConfigFile>,
    /// The places without a file.
    pub missing: Vec<Place>,
    /// The places of files that are not read, and why.
    pub skipped: Vec<(Place, String)>,
}

/// A key of a file, and whether it counts.
pub struct Use<'a> {
    /// The file.
    pub place: &'a Place,
    /// The key.
    pub entry: &'a Entry,
    /// The option, the variable or the other file that has taken precedence.
    pub overridden_by: Option<String>,
}

/// A file that was read.
pub struct ConfigFile {
    /// Where it is.
    pub place: Place,
    /// What it has, in its order.
    pub entries: Vec<Entry>,
}

/// A key of a file, and its values.
pub struct Entry {
    key: &'static FileKey,
    /// The line of the key.
    pub line: usize,
    values: Vec<Zeroizing<String>>,
}

impl ConfigFiles {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// If one cannot be read or understood. The message names file, line and key.
    pub fn read() -> Result<Self> {
        let mut read = Self::default();
        for place in places() {
            let name = place.path.display().to_string();
            match read_in_time(&place).with_context(|| format!("configuration file {name}"))? {
                Found::Text(text) => read.files.push(ConfigFile { entries: parse(&text, &place.path)?, place }),
                Found::Nothing => read.missing.push(place),
                Found::Skipped(why) => read.skipped.push((place, why)),
            }
        }
        Ok(read)
    }

    /// Refuses to go on without a file that could not be read: a command would ask another registry.
    ///
    /// # Errors
    ///
    /// If there is one.
    pub fn check_skipped(&self) -> Result<()> {
        match self.skipped.first() {
            Some((place, why)) => Err(anyhow!("configuration file {}: {why}", place.path.display())),
            None => Ok(()),
        }
    }

    /// Gives the options the values of the files, unless they, or options that exclude them, have one already. Returns
    /// what has become of each key.
    ///
    /// # Errors
    ///
    /// If a value is none of those that the option takes.
    pub fn complete(&self, options: &mut RegistryOptions, origins: &mut Origins) -> Result<Vec<Use<'_>>> {
        let mut uses = Vec::new();
        for ConfigFile { place, entries } in &self.files {
            let (before, origins_before) = (options.clone(), origins.clone());
            for entry in entries {
                let overridden_by = entry.overridden_by(&before).map(|option| origins_before.name(option));
                if overridden_by.is_none() {
                    entry.apply(options, place).with_context(|| entry.origin(place))?;
                    origins.set_file(entry.key.option, entry.origin(place));
                }
                uses.push(Use { place, entry, overridden_by });
            }
        }
        Ok(uses)
    }
}

impl Entry {
    /// Returns the key.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.key.name
    }

    /// Returns the value as people may see it.
    #[must_use]
    pub fn shown(&self) -> String {
        let values: Vec<&str> = self.values.iter().map(|value| value.as_str()).collect();
        if self.key.name == "api-key" { "(hidden)".to_owned() } else { values.join(",") }
    }

    /// Returns the option that was given before and excludes it.
    fn overridden_by(&self, options: &RegistryOptions) -> Option<&'static str> {
        let rivals = RegistryOptions::RIVALS.iter().filter(|pair| pair.contains(&self.key.option)).flatten();
        [self.key.option].into_iter().chain(rivals.copied()).find(|option| options.is_set(option))
    }

    fn apply(&self, options: &mut RegistryOptions, place: &Place) -> Result<()> {
        let folder = place.path.parent().unwrap_or(Path::new("."));
        self.values.iter().try_for_each(|value| (self.key.set)(options, value, folder).map_err(Error::msg))
    }

    fn origin(&self, place: &Place) -> String {
        format!("{}: line {}: {}", place.path.display(), self.line, self.key.name)
    }
}

/// What is at a place.
enum Found {
    Text(Zeroizing<String>),
    Nothing,
    /// A file that is not read, and why.
    Skipped(String),
}

/// Reads a file in a thread, since the file system of a home may not answer. That of `/etc` has: the program's libraries
/// were looked up there. Usually there is no file, and the kernel knows that, so no thread has to be started.
fn read_in_time(place: &Place) -> Result<Found> {
    if place.role == Role::System {
        return read(place);
    }
    if place.role == Role::User && is_known_to_be_missing(&place.path) {
        return Ok(Found::Nothing);
    }
    let (tell, found) = mpsc::sync_channel(1);
    let in_thread = place.clone();
    let begun = thread::Builder::new().name("files".to_owned()).spawn(move || drop(tell.send(read(&in_thread))));
    let Ok(thread) = begun else { return read(place) };
    let Ok(found) = found.recv_timeout(FILE_SYSTEM_LIMIT) else {
        return Ok(Found::Skipped("the file system has not answered; see its mount".to_owned()));
    };
    let _ = thread.join(); // so that the program has one thread again
    found
}

fn read(place: &Place) -> Result<Found> {
    let file = match files::open(&place.path) {
        Err(error) if place.role != Role::Named && is_missing(&error, place) => return Ok(Found::Nothing),
        Err(error) if [Errno::EMFILE, Errno::ENFILE].contains(&Errno::from_raw(error.raw_os_error().unwrap_or(0))) => {
            return Ok(Found::Skipped(error.to_string())); // the program reports it in its own way
        }
        file => file?,
    };
    // The home of a process may be that of another user, who would choose the file with the key that is sent.
    let owner = file.metadata()?.uid();
    if place.role == Role::User && ![0, geteuid().as_raw()].contains(&owner) {
        return Ok(Found::Skipped(format!("it belongs to user {owner}; name it in {CONFIG_VARIABLE} to have it read")));
    }
    let is_public = files::refuse_public(&file, &place.path);
    let text = files::text(files::read_all(file, LARGEST)?)?;
    // What is no TOML is reported later.
    if DeTable::parse(&text).is_ok_and(|table| table.get_ref().contains_key("api-key")) {
        is_public.context("it has an api-key")?;
    }
    Ok(Found::Text(text))
}

/// Returns whether there is no file, as far as the kernel knows without asking the file system.
fn is_known_to_be_missing(path: &Path) -> bool {
    let cached = ResolveFlag::from_bits_retain(nix::libc::RESOLVE_CACHED);
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(cached);
    matches!(openat2(AT_FDCWD, path, how), Err(Errno::ENOENT))
}

/// Returns whether there is no file. A home that may not be entered is that of another user.
fn is_missing(error: &io::Error, place: &Place) -> bool {
    let may_not_enter = || fs::symlink_metadata(&place.path).is_err();
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => true,
        ErrorKind::PermissionDenied => place.role == Role::User && may_not_enter(),
        _ => false,
    }
}

fn parse(text: &str, path: &Path) -> Result<Vec<Entry>> {
    let line = |offset: usize| text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1;
    let table = DeTable::parse(text).map_err(|error| {
        // Its `Display` repeats the line, which may be a key.
        let line = error.span().map_or(1, |span| line(span.start));
        anyhow!("{}: line {line}: {}", path.display(), error.message().replace('\n', "; "))
    })?;
    let mut entries = Vec::new();
    for (name, value) in table.get_ref() {
        let line = line(name.span().start);
        let place = || format!("{}: line {line}: {}", path.display(), name.get_ref().escape_debug());
        let key = KEYS.iter().find(|key| key.name == name.get_ref());
        let Some(key) = key else { bail!("{}: {}", place(), unknown(name.get_ref())) };
        let values = values(value, key).with_context(place)?;
        entries.push(Entry { key, line, values });
    }
    entries.sort_by_key(|entry| entry.line);
    Ok(entries)
}

fn values(value: &Spanned<DeValue<'_>>, key: &FileKey) -> Result<Vec<Zeroizing<String>>> {
    let text = |value: &Spanned<DeValue<'_>>| match value.get_ref() {
        DeValue::String(text) => Ok(Zeroizing::new(text.to_string())),
        other => {
            let or = if key.is_list { " or an array of them" } else { "" };
            Err(anyhow!("it is of the type {}; write a string{or}", other.type_str()))
        }
    };
    match value.get_ref() {
        DeValue::Array(values) if key.is_list => values.iter().map(text).collect(),
        _ => Ok(vec![text(value)?]),
    }
}

fn unknown(name: &str) -> String {
    let likeness = |key: &FileKey| strsim::jaro_winkler(name, key.name);
    let best = KEYS.iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
    match best.filter(|best| likeness(best) >= 0.8) {
        Some(best) => format!("there is no such key; did you mean {}?", best.name),
        None => {
            let names: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
            format!("there is no such key; there are {}", names.join(", "))
        }
    }
}
