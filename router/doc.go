// Package router stands between connections and outputs. A [Router] decides which signals of which
// connections go to which [Sink] and [Subscription], encodes them once a format, and each output
// has a [Queue]: a bounded queue of records, which are lines, and what happens when it is full.
//
// Its promises:
//
//   - Records come out once, those of a connection in the order in which they were put, byte for
//     byte, and each whole in one chunk.
//   - A record that does not come out is counted in exactly one announcement, which stands where
//     the record is missing.
//   - Each record is counted as delivered or as dropped in the end; see [Origin].
//   - Memory is bounded, whatever the consumer does; see [Queue].
//   - In the steady state nothing is allocated and a lock is taken once a chunk, not once a
//     record.
package router
