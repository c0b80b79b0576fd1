// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"weir.dev/weir/control"
	"weir.dev/weir/control/policy/envoygateway/install"
)

// maxInstall bounds the file of an install of Envoy Gateway, in bytes.
const maxInstall = 1 << 20

// installFlag is the flag that names the file of an install of Envoy Gateway. What the
// file says and is not honoured is told on standard error.
type installFlag struct {
	to  *control.Options
	cmd *cobra.Command
}

func (*installFlag) String() string { return "" }
func (*installFlag) Type() string   { return "file" }

// Set reads the file.
func (f *installFlag) Set(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Size() > maxInstall {
		return fmt.Errorf("%s has %d bytes, which is more than %d", path, info.Size(), maxInstall)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	i, err := install.Read(data)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	f.to.Controller, f.to.Limits, f.to.Proxy = i.Controller, &i.Limits, i.Proxy
	for _, p := range i.Notes {
		fmt.Fprintf(f.cmd.ErrOrStderr(), "%s: warning: %s\n", path, p)
	}
	return nil
}
