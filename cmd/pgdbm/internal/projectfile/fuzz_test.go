package projectfile

import "testing"

// Whatever the text is, it is read or refused.
func FuzzParse(f *testing.F) {
	f.Add(sample)
	f.Add("environments.dev.url = 'x'\n[modules]\na = {migrations_path = 'x', depends_on = ['a']}")
	f.Add("[[modules.a]]\n[[environments]]\nx = [[1], {a = 1}]")
	f.Add("\"mod\\u0075les\".a.migrations_path = \"\"\"\nx\"\"\"")
	f.Fuzz(func(t *testing.T, text string) {
		file, err := Parse("f.toml", []byte(text))
		if err != nil {
			return
		}
		order, err := file.InOrder()
		if err != nil || len(order) != len(file.Modules) {
			t.Errorf("%d of %d modules, %v", len(order), len(file.Modules), err)
		}
		for _, e := range file.Environments {
			_, _ = e.Config()
			_, _ = e.Schema()
		}
	})
}
