// Package sqltemplate reads SQL as PostgreSQL reads it, and expands the placeholders with which pgdbm's SQL names
// schemas. It connects to nothing and needs only the standard library.
//
// Code that runs in many schemas cannot spell them out, and should not trust search_path to find them. So it writes
//
//	SELECT id FROM {{tables.users}} WHERE name = $1
//
// and each schema gets a text of its own:
//
//	names, err := sqltemplate.NewNames("tenant_42", nil)
//	query, err := sqltemplate.Parse("SELECT id FROM {{tables.users}} WHERE name = $1")
//	text, err := query.Expand(names)
//	// SELECT id FROM "tenant_42"."users" WHERE name = $1
//
// Programs seldom do so themselves: the handles of package pgdbm expand what is passed to them, and package migrate
// expands migrations. This package is for tools: it finds tokens ([Lexer]), statements ([Split]), directives
// ([Directives]) and the place in the source that an error position in the expansion belongs to
// ([Template.SourceOffset]).
//
// # Placeholders
//
//	{{tables.users}}        "schema"."users"
//	{{types.mood}}          the same for a type; and so functions and sequences
//	{{tables.other.users}}  the table of module other, wherever that is
//	{{schema}}              "schema"
//	{{schema:literal}}      'schema'
//
// Spaces and tabs may stand next to the braces. Both names come out in double quotes. A bare name folds to lower case,
// as PostgreSQL folds it: ASCII letters only. {{tables."Users"}} keeps its case. A name, and with it a schema, is at
// most 63 bytes of valid UTF-8 without control characters and without any of ' " \ $ %; so it needs no escape wherever
// it comes to stand, and PostgreSQL never cuts it. A longer one is an error. See [ValidateSchema] and [ValidateModule].
//
// # Where they expand
//
// A text without {{ is its own expansion, and nothing looks at it. Elsewhere it depends on the token:
//
//   - In code every {{ has to begin a placeholder. One that touches an identifier character, a $, a quote or another
//     placeholder is an error: {{tables.events}}_2024 would read the table events, under the alias _2024. A dot may
//     follow.
//   - In a quoted string, plain or with E, N or U& before it, placeholders expand anywhere, and quotes that they bring
//     are doubled, so the value of '{{schema:literal}}' is the name in quotes. One of the five words after {{ with
//     anything behind it that makes no placeholder is an error. All other braces are left alone, as in
//     '{{1,2},{3,4}}' and '{{user}}'. The inside of a string is not read as SQL: quotes are doubled once, even in SQL
//     that quotes SQL. Bit strings hold no placeholders.
//   - The inside of a dollar-quoted string is code, in which braces that begin none of the five words are left alone
//     too. If it is no code, because a quote or comment in it never ends, it is text: placeholders expand anywhere in it.
//   - In a quoted identifier a placeholder is an error.
//   - In a comment, in rows of COPY ... FROM STDIN and in a psql command nothing expands.
//
// There is no escape. A file can switch its placeholders off, see [ParseFile].
//
// # Names for editors
//
// A placeholder alone in a comment, with its own name behind it on the same line, replaces both:
//
//	SELECT u.id FROM /*{{tables.users}}*/ users u
//
// So the source is valid SQL for editors and generators. The name may be bare or quoted, and .column may follow it; it
// must not be qualified. Any other name there, or none, is an error.
//
// # Scripts
//
// The lexer follows the rules of PostgreSQL's manual, section 4.1 "Lexical Structure", with
// standard_conforming_strings on, and where the manual is vague those of the server's own lexer: comments nest, a string
// goes on after a line end, a$b$c is one identifier, =-1 is three tokens. Numbers are those of PostgreSQL 16, which older
// servers refuse or read as two tokens. From psql it takes what stands in dumps: the rows after COPY ... FROM STDIN, and
// commands that begin with a backslash. [Split] knows the two places where a semicolon ends no statement: in
// parentheses, as in CREATE RULE, and in a BEGIN ATOMIC body, in which CASE has an END too.
//
// # Errors and concurrency
//
// An error about a text is an [*Error] with line and column. The errors of [NewNames], [ValidateSchema] and
// [ValidateModule] are about a name and have no position. A [Template] and [Names] are immutable and safe for concurrent
// use; a [Lexer] is not.
package sqltemplate
