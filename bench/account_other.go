//go:build !unix

package main

import (
	"context"
	"errors"
)

func giveToServer(string) error { return errors.ErrUnsupported }

func runAsServer(context.Context, string, ...string) error { return errors.ErrUnsupported }
