//! Access tokens: JWT (RFC 7519) under HS256 (RFC 7518 section 3.2).
