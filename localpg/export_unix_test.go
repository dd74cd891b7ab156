//go:build unix

package localpg

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// MakeOld makes a directory look as if nothing had changed in it for an hour.
func MakeOld(t *testing.T, dir string) {
	t.Helper()
	then := time.Now().Add(-time.Hour)
	if err := os.Chtimes(dir, then, then); err != nil {
		t.Fatal(err)
	}
}

// ClustersIn has so many callers make a cluster of arguments that nobody else
// uses, and returns what is in the cache for them.
func ClustersIn(t *testing.T, ctx context.Context, callers int) []string {
	t.Helper()
	a, err := serverAccount()
	if err != nil {
		t.Fatal(err)
	}
	bin, err := Find(nil)
	if err != nil {
		t.Fatal(err)
	}
	base, err := a.clusterDir("")
	if err != nil {
		t.Fatal(err)
	}
	args := append(initArgs(Options{}), "--username="+superuser+randomHex(4))
	key, err := clusterKey(bin, args)
	if err != nil {
		t.Fatal(err)
	}
	leftover := filepath.Join(base, key+".00000000.new") // of one who was killed
	if err := os.Mkdir(leftover, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(filepath.Join(base, key)); os.Remove(filepath.Join(base, key+lockSuffix)) })
	var wait sync.WaitGroup
	for range callers {
		wait.Go(func() {
			c, err := a.cachedCluster(ctx, "", bin, args, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Error(err)
			} else if _, err := os.Stat(filepath.Join(c.data, "PG_VERSION")); err != nil || c.version == "" {
				t.Errorf("%+v: %v", c, err)
			}
		})
	}
	wait.Wait()
	entries, err := os.ReadDir(base)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), key) && e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

// GiveToAccount makes a file the property of the server's user.
func GiveToAccount(file string) error {
	a, err := serverAccount()
	if err != nil {
		return err
	}
	return os.Lchown(file, int(a.uid), int(a.gid))
}

// ReadAsAccount and WriteAsAccount do with a file what this package does.
func ReadAsAccount(file string) ([]byte, error) {
	a, err := serverAccount()
	if err != nil {
		return nil, err
	}
	return a.read(file)
}

func WriteAsAccount(file, text string) error {
	a, err := serverAccount()
	if err != nil {
		return err
	}
	return a.writeNew(file, text)
}
