//go:build !unix

package localpg_test

import "errors"

func child(string) error { return errors.ErrUnsupported }
