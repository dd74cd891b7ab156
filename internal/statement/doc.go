// Package statement runs SQL of many schemas over few connections, at one round
// trip a query and with bounded state on both sides.
//
// A template is described once per database: the types of its parameters and
// columns are the same in every schema, or nearly so. With that description, a
// query goes out as Parse, Bind, Describe, Execute and Sync in one message of the
// unnamed statement, which leaves nothing on the server and works through a
// transaction pooler. Results are decoded by what the server says that they are.
//
// Arguments are converted to the types of the parameters before they are sent,
// so these are checked in each schema, once per process: outside a transaction, a
// statement that only reads asks for them in the message that runs it, and is run
// again if they differ; any other asks beforehand, in a round trip of its own. A
// schema that differs has a description of its own.
//
// A pair of template and schema that one connection runs for the third time
// becomes a named statement there, out of a bounded number, in the same round
// trip.
//
// When tables change under a statement it is described anew and run again, unless
// a transaction has failed with it.
//
// The messages and their errors are those of
// https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-EXT-QUERY.
package statement
