"""The contracts between processes: subjects, envelopes, replies, audit records, keys."""
