package testdb

// TargetURL is the URL of a database on the server that PGDBM_TEST_URL names
// with the text.
func TargetURL(text, database string) (string, error) {
	t, err := parseTarget(text)
	if err != nil {
		return "", err
	}
	return t.url(database), nil
}
