package main

import "testing"

func TestADumpHasNothingThatChangesByItself(t *testing.T) {
	t.Parallel()
	got, err := stableDump("--\n-- PostgreSQL database dump\n--\n\n\n\\restrict abc\n\n-- Dumped by pg_dump version 17\n\nSET a = 0;\n" +
		"SELECT pg_catalog.set_config('search_path', '', false);\n\nCREATE FUNCTION a.f() RETURNS int\n    LANGUAGE sql\n    AS $$\n-- why\nSELECT 1;\n\n\n$$;\n\n\n\n" +
		"--\n-- Name: c\n--\n\nCREATE TABLE a.c ();\n\\unrestrict abc\n\n")
	if want := "CREATE FUNCTION a.f() RETURNS int\n    LANGUAGE sql\n    AS $$\n-- why\nSELECT 1;\n\n\n$$;\n\nCREATE TABLE a.c ();\n"; err != nil || string(got) != want {
		t.Errorf("%q, %v", got, err)
	}
}
