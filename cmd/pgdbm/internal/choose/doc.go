// Package choose decides which of pgdbm's three patterns fits a program: from
// answers to a few questions, or from the sources of a Go project.
package choose
