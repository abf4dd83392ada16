//! Takes batches and makes nothing of them: what crossing the boundary costs.

struct Identity;

impl guest_kit::Behaviour for Identity {}

guest_kit::export!(Identity);
