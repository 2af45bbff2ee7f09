//! Requests are answered once, by the server that took them, whoever leads.

use super::*;
