// Package sqltemplate lexes PostgreSQL's SQL and expands pgdbm's placeholders in it.
package sqltemplate
