// SPDX-License-Identifier: Apache-2.0

package flags

import (
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// Separate takes the arguments apart that are a flag of Envoy's and its value in one, such as
// "--concurrency 4": Envoy reads them so, and manifests have them. Others stay as they are.
func Separate(args []string) []string {
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	Add(fs)
	end := slices.Index(args, "--")
	var out []string
	for i, arg := range args {
		name, value, both := strings.Cut(arg, " ")
		if both && (end < 0 || i < end) && isFlag(fs, name) {
			out = append(out, name, strings.TrimLeft(value, " "))
			continue
		}
		out = append(out, arg)
	}
	return out
}

func isFlag(fs *pflag.FlagSet, text string) bool {
	if long, ok := strings.CutPrefix(text, "--"); ok {
		return fs.Lookup(long) != nil
	}
	short, ok := strings.CutPrefix(text, "-")
	return ok && len(short) == 1 && fs.ShorthandLookup(short) != nil
}
