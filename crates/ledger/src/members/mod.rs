//! Members: what the founding validators receive. Votes on members, reference
//! values and parameters will change [`wire::record::Rules`] here.

mod pool;

pub(crate) use pool::pay_pool;
