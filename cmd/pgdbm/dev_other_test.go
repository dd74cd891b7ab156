//go:build !unix

package main

import "github.com/rogpeppe/go-internal/testscript"

// untilDev is for scripts that run where there are private servers.
func untilDev(ts *testscript.TestScript, _ bool, _ []string) { ts.Fatalf("no private server") }
