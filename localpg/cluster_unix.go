//go:build unix

package localpg

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// clusterFormat changes when clusters are made in another way.
const clusterFormat = "1"

// clusterLife is how long a cluster stays in the cache after its last use.
const clusterLife = 30 * 24 * time.Hour

// clusterUse is how exactly the last use is known.
const clusterUse = 24 * time.Hour

// cluster is what initdb made, to be copied by each server: making it takes ten
// times as long as copying it.
type cluster struct {
	key     string // of all that shapes it
	data    string
	version string // of the programs, such as "17.5"
}

// cachedCluster returns the cluster of these programs and arguments, which the
// first caller of all processes makes.
func (a account) cachedCluster(ctx context.Context, cache, binDir string, args []string, logger *slog.Logger) (cluster, error) {
	base, err := a.clusterDir(cache)
	if err != nil {
		return cluster{}, err
	}
	key, err := clusterKey(binDir, args)
	if err != nil {
		return cluster{}, err
	}
	unlock, err := lock(ctx, filepath.Join(base, key+lockSuffix))
	if err != nil {
		return cluster{}, err
	}
	defer unlock()
	dir := filepath.Join(base, key)
	c := cluster{key: key, data: filepath.Join(dir, "data")}
	if version, err := a.read(filepath.Join(dir, "version")); err == nil {
		c.version = string(version)
		if info, err := os.Lstat(dir); err == nil && time.Since(info.ModTime()) > clusterUse {
			a.touch(dir) // so that nobody takes it for an old one
		}
		return c, nil
	}
	a.pruneClusters(base, key)
	logger.Debug("localpg: making a cluster", slog.String("bin", binDir), slog.String("dir", dir))
	// A name of its own: an initdb whose caller was killed may still run.
	made := dir + "." + randomHex(4) + ".new"
	if c.version, err = a.makeCluster(made, binDir, args); err != nil {
		return cluster{}, errors.Join(err, a.removeAll(made))
	}
	return c, a.rename(made, dir)
}

// clusterKey is of the programs, whose file an upgrade replaces in place, and
// of initdb's arguments.
func clusterKey(binDir string, args []string) (string, error) {
	program, err := filepath.EvalSymlinks(filepath.Join(binDir, "postgres"))
	if err != nil {
		return "", err
	}
	info, err := os.Stat(program)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %d %d %q", clusterFormat, program, info.Size(), info.ModTime().UnixNano(), args)
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}

// clusterDir makes and returns the folder of all clusters, which only the
// account can enter, in the folder cache or, for the empty one, in the user's. A
// user without one, or whose cannot be written, has one beside the servers.
func (a account) clusterDir(cache string) (string, error) {
	name := "clusters-" + strconv.Itoa(int(a.uid))
	if cache != "" {
		dir := filepath.Join(cache, name)
		return dir, a.ownDir(dir)
	}
	users, err := cacheDir()
	if err == nil {
		dir := filepath.Join(users, name)
		if err = a.ownDir(dir); err == nil {
			return dir, nil
		}
	}
	dir := filepath.Join(socketBase, "pgdbm-"+name)
	if a.ownDir(dir) != nil {
		return "", fmt.Errorf("cache of clusters: %w", err)
	}
	return dir, nil
}

// ownDir makes dir the account's own. Its parents must be reachable by the
// account, which for root's cache they are.
func (a account) ownDir(dir string) error {
	if err := makeDir(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if a.change {
		// Another process may have made it a moment ago and not got here.
		if root := (account{uid: 0}); root.owns(dir) == nil {
			if err := os.Lchown(dir, int(a.uid), int(a.gid)); err != nil {
				return err
			}
		}
	}
	return a.owns(dir)
}

// makeCluster runs initdb. It is not cut short: its children would lose their
// files and leave shared memory.
func (a account) makeCluster(dir, binDir string, args []string) (version string, err error) {
	if err := a.mkdir(dir); err != nil {
		return "", err
	}
	if version, err = a.programVersion(binDir); err != nil {
		return "", err
	}
	data := filepath.Join(dir, "data")
	// C.UTF-8 is not everywhere; C is, but knows letters of ASCII only.
	for _, locale := range []string{"C.UTF-8", "C"} {
		var out []byte
		out, err = a.output(filepath.Join(binDir, "initdb"), append([]string{"-D", data, "--locale=" + locale}, args...)...)
		if err == nil {
			break
		}
		err = fmt.Errorf("initdb: %w: %s", err, lastLines(out))
		if !bytes.Contains(out, []byte("invalid locale")) {
			break
		}
	}
	if err != nil {
		return "", err
	}
	return version, a.writeNew(filepath.Join(dir, "version"), version)
}

func (a account) programVersion(binDir string) (string, error) {
	out, err := a.output(filepath.Join(binDir, "postgres"), "--version")
	if err != nil {
		return "", fmt.Errorf("postgres --version: %w: %s", err, lastLines(out))
	}
	words := strings.Fields(string(out)) // postgres (PostgreSQL) 15.18 (Debian ...)
	if len(words) < 3 {
		return "", fmt.Errorf("postgres --version: %q", out)
	}
	return words[2], nil
}

func lastLines(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], "; ")
}

// pruneClusters removes clusters that nobody has used for long, and what was
// left of making the cluster of this key, whose lock the caller has. Servers have
// copies: only who copies at this moment could miss one, and has just used it.
func (a account) pruneClusters(base, key string) {
	entries, err := os.ReadDir(base)
	if err != nil {
		return
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !e.IsDir() {
			continue
		}
		if strings.HasPrefix(e.Name(), key) || time.Since(info.ModTime()) > clusterLife {
			_ = a.removeAll(filepath.Join(base, e.Name())) // else the next one does
		}
	}
}
