//! What a server's error means for the command that it refused.

use redis::{ErrorKind, RedisError, ServerErrorKind, Value};

/// Longer names of commands are not shown.
const MAX_COMMAND: usize = 30;

/// The words between the user's name and the command's name in the message of `NOPERM`.
const NO_RIGHT: &str = " has no permissions to run the '";

/// Returns whether the key holds another type than a string.
pub(crate) fn is_wrong_type(error: &RedisError) -> bool {
    has_code(error, "WRONGTYPE")
}

/// Returns whether the server has no memory for what a command stores.
pub(crate) fn is_out_of_memory(error: &RedisError) -> bool {
    has_code(error, "OOM")
}

/// Returns whether the server does not know the script of an `EVALSHA`.
pub(crate) fn is_no_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

/// Returns whether the server does not know an option of a command.
pub(crate) fn is_syntax_error(error: &RedisError) -> bool {
    error.code() == Some("ERR")
        && error
            .detail()
            .is_some_and(|it| it.starts_with("syntax error"))
}

/// Returns whether the server does not know a command, or the user has no right to it. A command
/// inside a script counts, too.
pub(crate) fn cannot_run(error: &RedisError) -> bool {
    let detail = error.detail().unwrap_or_default();
    has_code(error, "NOPERM")
        || detail.starts_with("unknown command")
        || detail.contains(NO_RIGHT)
        || detail.starts_with("The user executing the script can't run this command")
}

/// Returns whether the user has the right to the command, and not to the key.
pub(crate) fn is_key_denied(error: &RedisError) -> bool {
    has_code(error, "NOPERM") && refused_command(error.detail().unwrap_or_default()).is_none()
}

/// Returns whether the server is a replica, which refuses to write.
pub(crate) fn is_read_only(response: &Value) -> bool {
    let Value::ServerError(error) = response else {
        return false;
    };
    inner_code(error.code(), error.details()) == "READONLY"
}

/// Returns whether the server refused the command, or a command of the script, with this code.
fn has_code(error: &RedisError, code: &str) -> bool {
    let outer = error.code();
    outer.is_some_and(|outer| inner_code(outer, error.detail()) == code)
}

/// Returns the code of an error. If a script's command failed, this is the command's code.
///
/// Servers older than 7.0 wrap the error of a script's command:
/// `ERR Error running script (call to f_..): @user_script:9: -OOM command not allowed ..`
fn inner_code<'a>(code: &'a str, detail: Option<&'a str>) -> &'a str {
    let wrapped = detail
        .and_then(|detail| detail.strip_prefix("Error running script "))
        .and_then(|detail| detail.split_once(": -"))
        .and_then(|(_, inner)| inner.split(' ').next());
    wrapped.unwrap_or(code)
}

/// Returns the command that the user has no right to, however the server words it. Newer servers
/// name the user before it, and a script's command is refused with more words around it.
pub(crate) fn refused_command(detail: &str) -> Option<&str> {
    let (_, rest) = detail.split_once(NO_RIGHT)?;
    let (command, _) = rest.split_once('\'')?;
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b"|.-_".contains(&b);
    ((1..=MAX_COMMAND).contains(&command.len()) && command.bytes().all(is_name)).then_some(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the error that the client makes of an error line of Redis.
    fn response(line: &str) -> RedisError {
        let response = redis::parse_redis_value(format!("-{line}\r\n").as_bytes());
        response
            .and_then(redis::Value::extract_error)
            .expect_err("an error line")
    }

    #[test]
    fn a_replica_is_recognized_also_in_the_error_of_a_script() {
        let replica = "READONLY You can't write against a read only replica.";
        let script = "f_0123456789abcdef0123456789abcdef01234567";
        for (line, expected) in [
            (replica.to_owned(), true),
            (
                format!("{replica} script: {script}, on @user_script:9."),
                true,
            ),
            (
                format!("ERR Error running script (call to {script}): @user_script:9: -{replica}"),
                true,
            ),
            ("ERR READONLY".to_owned(), false),
        ] {
            let response = redis::parse_redis_value(format!("-{line}\r\n").as_bytes());
            assert_eq!(
                is_read_only(&response.expect("it is a reply")),
                expected,
                "{line}"
            );
        }
    }

    #[test]
    fn what_a_user_may_not_do_is_told_from_what_a_server_does_not_know() {
        for (line, forbidden, foreign_key, syntax) in [
            (
                "NOPERM this user has no permissions to run the 'del' command",
                true,
                false,
                false,
            ),
            (
                "NOPERM User x has no permissions to run the 'evalsha' command",
                true,
                false,
                false,
            ),
            ("NOPERM No permissions to access a key", true, true, false),
            (
                "ERR unknown command 'DELEX', with args beginning with: 'k' ",
                true,
                false,
                false,
            ),
            (
                "ERR The user executing the script can't run this command or subcommand",
                true,
                false,
                false,
            ),
            ("ERR syntax error", false, false, true),
            (
                "ERR value is not an integer or out of range",
                false,
                false,
                false,
            ),
            (
                "OOM command not allowed when used memory > 'maxmemory'.",
                false,
                false,
                false,
            ),
        ] {
            let error = response(line);
            assert_eq!(cannot_run(&error), forbidden, "{line}");
            assert_eq!(is_key_denied(&error), foreign_key, "{line}");
            assert_eq!(is_syntax_error(&error), syntax, "{line}");
        }
    }

    #[test]
    fn a_code_is_recognized_alone_and_in_the_error_of_a_script() {
        let wrong = "WRONGTYPE Operation against a key holding the wrong kind of value";
        let full = "OOM command not allowed when used memory > 'maxmemory'.";
        let script = "f_0123456789abcdef0123456789abcdef01234567";
        for line in [
            wrong.to_owned(),
            format!("{wrong} script: {script}, on @user_script:1."),
            format!("ERR Error running script (call to {script}): @user_script:1: -{wrong}"),
        ] {
            assert!(is_wrong_type(&response(&line)), "{line}");
            assert!(!is_out_of_memory(&response(&line)), "{line}");
        }
        for line in [
            full.to_owned(),
            format!("{full} script: {script}, on @user_script:9."),
            format!("ERR Error running script (call to {script}): @user_script: 9: -{full}"),
        ] {
            assert!(is_out_of_memory(&response(&line)), "{line}");
            assert!(!is_wrong_type(&response(&line)), "{line}");
        }
        for line in [
            "ERR WRONGTYPE",
            "ERR OOM",
            "ERR unknown command 'SET', with args beginning with: 'a: -OOM ' ",
        ] {
            assert!(!is_wrong_type(&response(line)), "{line}");
            assert!(!is_out_of_memory(&response(line)), "{line}");
        }
    }
}
