// SPDX-License-Identifier: Apache-2.0

package flags

import (
	"os"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// TestGuideNamesEveryFlag holds docs/guide/running.md to the flags there are.
func TestGuideNamesEveryFlag(t *testing.T) {
	guide, err := os.ReadFile("../../../docs/guide/running.md")
	if err != nil {
		t.Fatal(err)
	}
	fs := pflag.NewFlagSet("weir proxy", pflag.ContinueOnError)
	Add(fs)
	fs.VisitAll(func(f *pflag.Flag) {
		if !strings.Contains(string(guide), "`--"+f.Name+"`") {
			t.Errorf("the guide does not name --%s", f.Name)
		}
	})
}
