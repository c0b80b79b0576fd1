// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"net/netip"
	"os"
	"slices"
	"sync"

	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/streaminfo"
)

// keyLog appends the secrets of sessions to a file in NSS's format, for tools that
// decrypt captures. It opens the file for each line: it is for debugging, and so it
// may be moved away at any time.
type keyLog struct {
	path          string
	local, remote []netip.Prefix
	mu            sync.Mutex
}

// wants tells whether a connection's keys are logged: both ends have to be in the
// ranges given for them.
func (k *keyLog) wants(c *streaminfo.Connection) bool {
	return inside(k.local, c.Local) && inside(k.remote, c.Remote)
}

func inside(ranges []netip.Prefix, a address.Addr) bool {
	return len(ranges) == 0 || slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Contains(a.Addr().Unmap()) })
}

// Write appends one line.
func (k *keyLog) Write(line []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f, err := os.OpenFile(k.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	n, err := f.Write(line)
	if e := f.Close(); err == nil {
		err = e
	}
	return n, err
}
