// Package compat has tests of pgdbm beside other tools, which are needed for nothing else.
package compat
