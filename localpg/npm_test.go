package localpg_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm/localpg"
)

func TestAMirrorsCredentialsAreApartFromItsURL(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ mirror, want string }{
		{"", ""},
		{"https://npm.example", "registry=https://npm.example\n@embedded-postgres:registry=https://npm.example\n"},
		{"https://me:pa%2Fss@npm.example:8443/a/b", "registry=https://npm.example:8443/a/b\n" +
			"@embedded-postgres:registry=https://npm.example:8443/a/b\n//npm.example:8443/a/b/:_auth=bWU6cGEvc3M=\n"},
		{"http://token@[::1]:80/", "registry=http://[::1]:80/\n@embedded-postgres:registry=http://[::1]:80/\n//[::1]:80/:_auth=dG9rZW46\n"},
	} {
		if got, err := localpg.NPMRC(tt.mirror); err != nil || got != tt.want {
			t.Errorf("%s: %q, %v; want %q", tt.mirror, got, err, tt.want)
		}
	}
}

func TestAMirrorThatIsNoURLIsAnErrorWithoutIt(t *testing.T) {
	t.Parallel()
	for _, mirror := range []string{
		"npm.example", "ftp://me:secret@npm.example", "https://", "https://me:secret@npm.example/?q", "https://npm.example/#secret",
		"https://me:secret@npm.example/a;b=c", "https://me:secret@npm.example:port/", "https://me:secret@npm.example/\nx=secret",
		"https://me:secret@npm.example/${HOME}", "https://me:sec%ret@npm.example/",
	} {
		_, err := localpg.NPMRC(mirror)
		if err == nil || err.Error() != "the mirror is not the http or https URL of a registry" {
			t.Errorf("%q: error %v", mirror, err)
		}
	}
}

func TestSecretsAreTakenOutOfNPMsWords(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ mirror, text, want string }{
		{"https://me:pa%2Fss@npm.example/", "GET https://me:pa%2Fss@npm.example/ pa/ss bWU6cGEvc3M=", "GET https://npm.example/ *** ***"},
		{"https://t0ken@npm.example/", "Basic t0ken, https://t0ken@npm.example/x", "Basic ***, https://npm.example/x"},
		{"", "GET https://me:other@npm.example/x and http://y@z", "GET https://***@npm.example/x and http://***@z"},
	} {
		if got, err := localpg.Redact(tt.mirror, tt.text); err != nil || got != tt.want {
			t.Errorf("%s: %q, %v; want %q", tt.mirror, got, err, tt.want)
		}
	}
}

func TestNPMsFailureIsToldInItsWords(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, stdout, stderr, want string }{
		{
			"JSON", `{"error": {"code": "E404", "summary": "No match found for version 1", "detail": "long"}}`,
			"npm warn something\nnpm error code E404\n", "E404 No match found for version 1",
		},
		{
			"lines", "", "npm WARN old\nnpm ERR! code E401\nnpm ERR! Unable to authenticate\n{\n\"error\": {}\n}\nnpm ERR! A complete log\nnpm ERR!     /x.log\n",
			"E401 Unable to authenticate",
		},
		{"another program", "", "one\ntwo\nsh: node: not found\n", "exit status 1 one two sh: node: not found"},
		{"silence", "", "", "exit status 1"},
	} {
		if got := localpg.NPMWords([]byte(tt.stdout), tt.stderr, errors.New("exit status 1")); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func FuzzMirrorsKeepTheirPassword(f *testing.F) {
	f.Add("https://me:s3cret@npm.example/", "npm error s3cret")
	f.Add("http://s3cret@[::1]/", "https://s3cret@[::1]/")
	f.Fuzz(func(t *testing.T, mirror, text string) {
		rc, err := localpg.NPMRC(mirror)
		if err != nil {
			if strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%v", err)
			}
			return
		}
		if n := strings.Count(rc, "\n"); rc != "" && n != 2 && n != 3 || strings.Contains(rc, "$") {
			t.Errorf("more settings than ours: %q", rc)
		}
		if got, _ := localpg.Redact(mirror, text); strings.Contains(mirror, "://me:s3cret@") && strings.Contains(got, "s3cret") {
			t.Errorf("%q is left of %q", got, text)
		}
	})
}
