//! Hosts: what appraisers last found of machines' software (seed 001).
//!
//! Source: docs/spec/evidence.md §7.

use wire::{Event, RecordAppraisal, Reject, record::HostAppraisal, state_key};

use crate::execution::{Execution, Sender};

/// The last word of each appraiser about a host stands.
///
/// Errors: [`Reject::AppraisalInconsistent`].
pub(crate) fn record_appraisal(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &RecordAppraisal,
) -> Result<(), Reject> {
    let result = action.result;
    if result.known > result.entries {
        return Err(Reject::AppraisalInconsistent);
    }
    let key = state_key::host_appraisal(action.host, sender.account);
    let before: Option<HostAppraisal> = execution.state.get(&key);
    let since = before.and_then(|before| before.clean_since);
    let record = HostAppraisal {
        appraiser: sender.key,
        result,
        appraised_at: execution.height,
        time_ms: execution.time_ms,
        clean_since: result
            .is_clean()
            .then_some(since.unwrap_or(execution.height)),
    };
    execution.state.put(key, &record);
    execution.emit(Event::HostAppraised {
        host: action.host,
        appraiser: sender.account,
        clean: result.is_clean(),
    });
    Ok(())
}
