// Package sqlcsample is code in the shape that sqlc generates for pgx/v5, for
// the test that such code works with the handles of package pgdbm. Its SQL
// names tables as pgdbm wants them: in comments where sqlc must be able to read
// the file, which then is valid SQL, and as plain placeholders where it need
// not.
package sqlcsample
