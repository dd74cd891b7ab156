// Package statement runs SQL of many schemas over few connections, at one round
// trip a query and with bounded state on both sides.
//
// A template is described once per database: what types its parameters and
// columns have is the same in every schema, or nearly so. With that
// description, a query goes out as Parse, Bind, Describe, Execute and Sync in
// one message of the unnamed statement, which leaves nothing on the server and
// works through a transaction pooler. Parameters go out without types wherever
// their text says the same under any, so that each schema's server side decides
// what they are; results are decoded by what the server says that they are, so
// schemas that differ get the right values. A pair of template and schema that
// one connection sees for the third time becomes a named statement there, out
// of a bounded number, in the same round trip.
//
// The protocol's messages and their errors are those of
// https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-EXT-QUERY.
package statement
