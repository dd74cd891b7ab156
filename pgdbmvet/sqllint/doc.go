// Package sqllint finds what is dangerous or out of place in the SQL of
// migrations, without a server: statements that hold up the users of a table,
// that rewrite it, or that fail half-way, on PostgreSQL 14 to 18; and names that
// would not follow the module into another schema.
//
// It reads statements as PostgreSQL does, with package sqltemplate, and knows what
// it sees: a table that the same file has created has no users yet, so nothing
// that is done to it is dangerous. The part of a file that reverts is not judged,
// since whoever runs it knows that data go. The block of a DO is read, as it runs
// with the file; the body of a function is not, nor what EXECUTE runs.
//
// A statement that is meant as it is says so, with a reason, in the lines above it
// or at its end:
//
//	-- pgdbm:allow drop-column nobody has read it since March
//	ALTER TABLE {{tables.users}} DROP COLUMN fax;
package sqllint
