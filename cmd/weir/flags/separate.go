// SPDX-License-Identifier: Apache-2.0

package flags

import (
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// Separate takes the arguments apart that are a flag of Envoy's and its value in one, such as
// "--concurrency 4": Envoy reads them so, and manifests have them. Others stay as they are, but
// for what follows "--" or "--ignore_rest", which tells others about the process: Envoy does not
// read it.
func Separate(args []string) []string {
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	Add(fs)
	if end := slices.IndexFunc(args, func(a string) bool { return a == "--" || a == "--ignore_rest" }); end >= 0 {
		args = args[:end]
	}
	var out []string
	for _, arg := range args {
		name, value, both := strings.Cut(arg, " ")
		if both && isFlag(fs, name) {
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
