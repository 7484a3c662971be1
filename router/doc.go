// Package router stands between connections and outputs. For now it is the [Queue]: a bounded queue of records, which are
// lines that somebody else encoded, and what happens when it is full.
//
// Its promises:
//
//   - Records come out once, in the order in which they were put, byte for byte, and each whole in one chunk.
//   - A record that does not come out is counted in exactly one announcement, which stands where the record is missing.
//   - Memory is bounded, whatever the consumer does; see [Queue].
//   - In the steady state nothing is allocated and a lock is taken once a chunk, not once a record.
package router
