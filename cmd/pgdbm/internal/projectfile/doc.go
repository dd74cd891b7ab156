// Package projectfile reads pgdbm.toml, which says where the databases of a
// project are and which modules it has. The format is that of the Python pgdbm,
// with two keys more, production of an environment and extensions of a module, and
// one table more, tenants.
//
// Every error names the file, and the line and column if there are any. No error
// quotes a value of an environment, since it may be secret.
package projectfile
