//! `environ["ironhorn.extend_timeout"]`: a request that takes long, and knows it, asks for time.
//!
//! The master looks at the board, so a store there is all that it takes. One callable serves all
//! requests of a lane: what it extends is the one that runs there.

use std::time::Duration;

use ironhorn_unix::{BoardLane, Monotonic};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// As for the setting `timeout`.
const AT_MOST: f64 = 86_400.0;

/// The callable.
#[pyclass(frozen, module = "ironhorn")]
pub(crate) struct ExtendTimeout {
    lane: BoardLane,
}

impl ExtendTimeout {
    pub(crate) fn new(lane: BoardLane) -> Self {
        Self { lane }
    }
}

#[pymethods]
impl ExtendTimeout {
    /// The running request may go on for so many seconds from now before it counts as stuck, if
    /// that is longer than the server's timeout leaves it. The last call counts.
    fn __call__(&self, seconds: f64) -> PyResult<()> {
        if !(seconds > 0.0 && seconds <= AT_MOST) {
            let text = format!("seconds must be above 0 and at most {AT_MOST}, not {seconds}");
            return Err(PyValueError::new_err(text));
        }
        self.lane.extend_request(Monotonic::now() + Duration::from_secs_f64(seconds));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use ironhorn_unix::Board;

    #[test]
    fn the_running_request_gets_the_time() {
        Python::initialize();
        Python::attach(|py| {
            let lane = Board::new(1).unwrap().slot(1).lane(0);
            let extend = Bound::new(py, ExtendTimeout::new(lane.clone())).unwrap();
            let began = Monotonic::now();
            lane.begin_request(b"GET", b"/", began);
            let extended_until = || lane.read().and_then(|running| running.extended_until);
            assert_eq!(extended_until(), None);
            extend.call1((90,)).unwrap();
            let until = extended_until().unwrap();
            assert!(until >= began + Duration::from_secs(90), "{until:?}");
            lane.end_request();
            extend.call1((0.5,)).unwrap();
            assert_eq!(lane.read(), None, "there is no request");
            lane.begin_request(b"GET", b"/", began);
            assert_eq!(extended_until(), None, "that was before this one");
        });
    }

    #[test]
    fn times_that_make_no_sense_are_refused() {
        Python::initialize();
        Python::attach(|py| {
            let lane = Board::new(1).unwrap().slot(1).lane(0);
            let extend = Bound::new(py, ExtendTimeout::new(lane)).unwrap();
            testing::run_with(
                py,
                c"
for wrong in [0, -1, float('nan'), float('inf'), 86401]:
    try:
        extend(wrong)
    except ValueError as error:
        assert 'above 0' in str(error), error
    else:
        raise AssertionError(wrong)
for wrong in [(), ('1',), (None,), (1, 2)]:
    try:
        extend(*wrong)
    except TypeError:
        pass
    else:
        raise AssertionError(wrong)
extend(seconds=86400)
",
                &[("extend", extend.as_any())],
            );
        });
    }
}
