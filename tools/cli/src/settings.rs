//! Where a server's settings come from: the environment, and flags that say the same and win. Both
//! follow from the table in `model::config`.

use std::env;
use std::ffi::OsString;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use model::config::{Environment, Kind, VARIABLES, Variable};
use model::error::Fatal;

use crate::failure::Failure;

/// Values given as flags, under the names of their variables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ServeFlags(Environment);

impl ServeFlags {
    /// The environment with the flags put over it.
    ///
    /// # Errors
    /// A variable that is known and is not UTF-8.
    pub(crate) fn over(
        &self,
        process: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Environment, Failure> {
        let mut environment = Environment::new();
        for (name, value) in process {
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => {
                    environment.insert(name, value);
                }
                Err(_) if VARIABLES.iter().any(|variable| variable.name == name) => {
                    return Err(Failure::new(
                        Fatal::Configuration,
                        format!("the value of {name} is not UTF-8"),
                    ));
                }
                Err(_) => {}
            }
        }
        environment.extend(self.0.clone());
        Ok(environment)
    }

    /// As [`ServeFlags::over`], with this process's environment.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn over_process(&self) -> Result<Environment, Failure> {
        self.over(env::vars_os())
    }
}

impl FromArgMatches for ServeFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<ServeFlags, clap::Error> {
        let given = with_flag().filter_map(|variable| {
            let value = matches.get_one::<String>(variable.flag)?;
            Some((variable.name.to_owned(), value.clone()))
        });
        Ok(ServeFlags(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.extend(ServeFlags::from_arg_matches(matches)?.0);
        Ok(())
    }
}

impl Args for ServeFlags {
    fn augment_args(command: Command) -> Command {
        with_flag().fold(command, |command, variable| command.arg(flag(variable)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        ServeFlags::augment_args(command)
    }
}

fn with_flag() -> impl Iterator<Item = &'static Variable> {
    VARIABLES.iter().filter(|variable| !variable.flag.is_empty())
}

fn flag(variable: &Variable) -> Arg {
    let value = match variable.kind {
        Kind::Integer | Kind::IntegerOrZero => "NUMBER",
        Kind::Size => "SIZE",
        Kind::Fraction => "FRACTION",
        Kind::Boolean => "BOOLEAN",
        Kind::Word(_) => "WORD",
        Kind::Text => "TEXT",
    };
    let words = match variable.kind {
        Kind::Word(words) => format!(" [one of: {}]", words.join(", ")),
        Kind::Integer
        | Kind::IntegerOrZero
        | Kind::Size
        | Kind::Fraction
        | Kind::Boolean
        | Kind::Text => String::new(),
    };
    let default = variable.default.replace('`', "");
    Arg::new(variable.flag)
        .long(variable.flag)
        .value_name(value)
        .help(format!("{}{words} [env: {}] [default: {default}]", variable.meaning, variable.name))
}
