// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
)

// What is told of a response that is wrong, in faults and in bytes of each.
const (
	maxFaults = 16
	maxFault  = 500
)

// faults are what is wrong with a response: as much of it as anybody reads, however
// much there is.
type faults struct {
	list []error
	more int
}

func (f *faults) add(err error) {
	if len(f.list) == maxFaults {
		f.more++
		return
	}
	if text := err.Error(); len(text) > maxFault {
		err = errors.New(strings.ToValidUTF8(text[:maxFault], "") + "...")
	}
	f.list = append(f.list, err)
}

func (f *faults) refused(rs []Refusal) {
	for _, r := range rs {
		f.add(fmt.Errorf("%s: %w", r.Name, r.Err))
	}
}

// err is nil if nothing is wrong.
func (f *faults) err() error {
	if f.more == 0 {
		return errors.Join(f.list...)
	}
	return errors.Join(append(f.list, fmt.Errorf("and %d more", f.more))...)
}

// detail tells a server what is wrong.
func detail(err error) *status.Status {
	if err == nil {
		return nil
	}
	return &status.Status{Code: int32(codes.InvalidArgument), Message: strings.ToValidUTF8(err.Error(), "?")}
}
