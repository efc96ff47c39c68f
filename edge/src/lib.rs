//! The HTTP vocabulary that node and coordinator share: problem details, limits, CORS, credentials, the signed call.
