// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"

	"weir.dev/weir/control"
)

// dialectsFlag is the flag that names the dialects which are served.
type dialectsFlag struct{ to *[]string }

func (f *dialectsFlag) String() string { return "" }
func (*dialectsFlag) Type() string     { return "names" }

// Set reads names that are separated by commas.
func (f *dialectsFlag) Set(text string) error {
	*f.to = nil
	for name := range strings.SplitSeq(text, ",") {
		if !slices.Contains(control.DialectNames(), name) {
			return fmt.Errorf("%q is none of %s", name, strings.Join(control.DialectNames(), ", "))
		}
		*f.to = append(*f.to, name)
	}
	return nil
}
