// SPDX-License-Identifier: Apache-2.0

// Package injectedresource reads a pressure from a file, for tests
// (envoy.resource_monitors.injected_resource).
package injectedresource

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

type monitor struct{ file string }

// most bounds what is read of the file.
const most = 64

// Pressure returns the number that stands in the file, from 0 to 1.
func (m *monitor) Pressure() (float64, error) {
	f, err := os.Open(m.file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return 0, err
	}
	text := strings.TrimSpace(string(b))
	p, err := strconv.ParseFloat(text, 64)
	if err != nil || !(p >= 0 && p <= 1) {
		return 0, fmt.Errorf("%s: %q is not a number from 0 to 1", m.file, text)
	}
	return p, nil
}
