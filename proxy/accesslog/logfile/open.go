// SPDX-License-Identifier: Apache-2.0

package logfile

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// openFile opens a path to append to. The process's own standard streams are
// copied and not opened by name: that works for sockets and for files of
// another user too, and shares the offset with whatever else writes there.
func openFile(path string, mode os.FileMode) (io.WriteCloser, error) {
	switch path {
	case "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1":
		return duplicate(1, path)
	case "/dev/stderr", "/dev/fd/2", "/proc/self/fd/2":
		return duplicate(2, path)
	}
	// O_NONBLOCK: a pipe that nobody reads is an error and not a start that
	// hangs. Regular files do not know it.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NONBLOCK|unix.O_NOCTTY, mode)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func duplicate(fd int, path string) (io.WriteCloser, error) {
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("copy %s: %w", path, err)
	}
	return os.NewFile(uintptr(n), path), nil
}
