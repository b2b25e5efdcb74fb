//! The output of commands.
