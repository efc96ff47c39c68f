//! Placement, cascade planning, liveness, gateway and API.
