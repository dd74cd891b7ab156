package main

import "testing"

func TestNoPasswordIsInTheArgumentsOfPgDump(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][2]string{
		"postgres://me:s%3Acret@db/app?sslmode=require":   {"postgres://me@db/app?sslmode=require", "s:cret"},
		"postgres:///app?host=/tmp&password=secret":       {"postgres:///app?host=%2Ftmp", "secret"},
		"postgres://db/app":                               {"postgres://db/app", ""},
		"host=db password = 'se\\' cret' dbname=app":      {"host=db  dbname=app", "se' cret"},
		"host=db password=secret user=me dbname=password": {"host=db  user=me dbname=password", "secret"},
	} {
		address, password, err := withoutPassword(text)
		if err != nil || address != want[0] || password != want[1] {
			t.Errorf("%s: %q %q %v", text, address, password, err)
		}
	}
}

func TestADumpHasNothingThatChangesByItself(t *testing.T) {
	t.Parallel()
	got, err := stableDump("--\n-- PostgreSQL database dump\n--\n\n\n\\restrict abc\n\n-- Dumped by pg_dump version 17\n\nSET a = 0;\n" +
		"SELECT pg_catalog.set_config('search_path', '', false);\n\nCREATE FUNCTION a.f() RETURNS int\n    LANGUAGE sql\n    AS $$\n-- why\nSELECT 1;\n\n\n$$;\n\n\n\n" +
		"--\n-- Name: c\n--\n\nCREATE TABLE a.c ();\n\\unrestrict abc\n\n")
	if want := "CREATE FUNCTION a.f() RETURNS int\n    LANGUAGE sql\n    AS $$\n-- why\nSELECT 1;\n\n\n$$;\n\nCREATE TABLE a.c ();\n"; err != nil || string(got) != want {
		t.Errorf("%q, %v", got, err)
	}
}
