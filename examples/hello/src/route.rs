//! Which question it answers: what does a request target ask for? Pure: it
//! knows no HTTP and no host, so its tests run on any machine.

/// What a request asks of the service.
#[derive(Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// `/echo`: the body back.
    Echo,
    /// `/facts`: what the enclave told the replica.
    Facts,
    /// `/slow?ms=N`: an answer after `milliseconds`; 1000 unless N is a number.
    Slow {
        /// How long to wait, as asked; the caller bounds it.
        milliseconds: u64,
    },
    /// `/spin`: CPU without end.
    Spin,
    /// `/allocate`: memory without end.
    Allocate,
    /// `/abort`: a trap.
    Abort,
    /// Any other path: a greeting that names it.
    Greeting {
        /// The path without its query.
        path: &'a str,
    },
}

impl<'a> Route<'a> {
    /// Reads `target`, the path and query of a request. Never fails: an unknown
    /// path is greeted.
    pub fn of(target: &'a str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        match path {
            "/echo" => Self::Echo,
            "/facts" => Self::Facts,
            "/slow" => Self::Slow {
                milliseconds: parameter(query, "ms")
                    .and_then(|text| text.parse().ok())
                    .unwrap_or(1000),
            },
            "/spin" => Self::Spin,
            "/allocate" => Self::Allocate,
            "/abort" => Self::Abort,
            _ => Self::Greeting { path },
        }
    }
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name))
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greets_any_unknown_path_without_its_query() {
        assert_eq!(Route::of("/a/b?c=d"), Route::Greeting { path: "/a/b" });
        assert_eq!(Route::of(""), Route::Greeting { path: "" });
        assert_eq!(Route::of("/echo/"), Route::Greeting { path: "/echo/" });
    }

    #[test]
    fn reads_the_wait_among_other_parameters() {
        let slow = |target| match Route::of(target) {
            Route::Slow { milliseconds } => milliseconds,
            other => panic!("{target} is {other:?}"),
        };
        assert_eq!(slow("/slow?a=1&ms=250"), 250);
        assert_eq!(slow("/slow"), 1000);
        assert_eq!(slow("/slow?ms=-1"), 1000);
        assert_eq!(slow("/slow?ms=99999999999999999999999"), 1000);
    }
}
