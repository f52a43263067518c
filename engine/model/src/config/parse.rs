//! The rules by which values are read: the contract's, with its texts.

use super::Problem;
use super::variables::Variable;

/// Reads a whole number of at least `min`; a sign in front and blanks around it are taken.
///
/// # Errors
/// `invalid integer for NAME: "..."`.
pub(super) fn integer(variable: &Variable, value: &str, min: u64) -> Result<u64, Problem> {
    match value.trim().parse::<u64>() {
        Ok(number) if min <= number => Ok(number),
        Ok(_) | Err(_) => Err(invalid("integer", variable, value)),
    }
}

/// Reads a whole number in `[min, max]` that fits the type.
///
/// # Errors
/// As [`integer`], or the bound that is exceeded.
pub(super) fn bounded<T>(variable: &Variable, value: &str, min: T, max: T) -> Result<T, Problem>
where
    T: TryFrom<u64> + Into<u64> + Copy,
{
    let number = integer(variable, value, min.into())?;
    match T::try_from(number) {
        Ok(fitting) if number <= max.into() => Ok(fitting),
        Ok(_) | Err(_) => {
            let name = variable.name;
            Err(Problem::new(format!("{name} must be at most {}, not {number}", max.into())))
        }
    }
}

/// Reads a size in bytes: digits and a unit in powers of 1024, upper or lower case. Without a unit
/// the number counts megabytes.
///
/// # Errors
/// `invalid size for NAME: "..."`, also for zero and for a size beyond 64 bits.
pub(super) fn size(variable: &Variable, value: &str) -> Result<u64, Problem> {
    let trimmed = value.trim();
    let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = trimmed.split_at(digits);
    let shift = match unit.to_ascii_uppercase().as_str() {
        "B" => 0,
        "K" | "KB" | "KIB" => 10,
        "" | "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        "T" | "TB" | "TIB" => 40,
        _ => return Err(invalid("size", variable, value)),
    };
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift)) {
        Some(bytes) if 0 < bytes => Ok(bytes),
        Some(_) | None => Err(invalid("size", variable, value)),
    }
}

/// Reads a fraction in [0.01, 0.99].
///
/// # Errors
/// `invalid fraction for NAME: "..."`.
pub(super) fn fraction(variable: &Variable, value: &str) -> Result<f64, Problem> {
    match value.trim().parse::<f64>() {
        Ok(fraction) if (0.01..=0.99).contains(&fraction) => Ok(fraction),
        Ok(_) | Err(_) => Err(invalid("fraction", variable, value)),
    }
}

/// Reads a yes or no, upper or lower case.
///
/// # Errors
/// `invalid boolean for NAME: "..."`.
pub(super) fn boolean(variable: &Variable, value: &str) -> Result<bool, Problem> {
    match value.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => Err(invalid("boolean", variable, value)),
    }
}

/// Reads one of a few words, upper or lower case; returns the word as listed.
///
/// # Errors
/// `invalid value for NAME: "..."` and the words.
pub(super) fn word<'a>(
    variable: &Variable,
    value: &str,
    words: &[&'a str],
) -> Result<&'a str, Problem> {
    let given = value.trim().to_ascii_lowercase();
    words.iter().find(|word| **word == given).copied().ok_or_else(|| {
        let name = variable.name;
        Problem::new(format!("invalid value for {name}: {value:?} (one of {})", words.join(", ")))
    })
}

/// The contract's text for a value that cannot be read.
pub(super) fn invalid(kind: &str, variable: &Variable, value: &str) -> Problem {
    Problem::new(format!("invalid {kind} for {}: {value:?}", variable.name))
}
