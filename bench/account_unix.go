//go:build unix

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// serverUser is whom PostgreSQL's programs run as: ourselves, or for root, whom
// they refuse, postgres or nobody.
func serverUser() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return nil, err
		}
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, err
}

// giveToServer makes a folder of the user's.
func giveToServer(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	u, err := serverUser()
	if err != nil || u == nil {
		return err
	}
	return os.Chown(dir, int(u.Uid), int(u.Gid))
}

func runAsServer(ctx context.Context, program string, args ...string) error {
	u, err := serverUser()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.SysProcAttr = "/", &syscall.SysProcAttr{Credential: u}
	// No pipes: the server that pg_ctl starts would hold them open.
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", program, err)
	}
	return nil
}
