//! How many files a run opens.

use super::RunPlan;
use super::host::open_file_limit;
use crate::num;

/// Files beside the viewers' sockets.
const OTHER_FILES: u64 = 128;

/// This process may open as many files as a plan needs; else what to do.
pub(crate) fn enough_files(plan: &RunPlan) -> Result<(), String> {
    let sessions = num::len(plan.seats.len()) + u64::from(plan.publishers);
    let files = sessions * 2 + plan.beside.files() + OTHER_FILES;
    let viewers = plan.everybody();
    match open_file_limit().filter(|limit| *limit < files) {
        Some(limit) => Err(format!(
            "{viewers} viewers may need {files} open files and {limit} are allowed; raise it: ulimit -n {files}"
        )),
        None => Ok(()),
    }
}
