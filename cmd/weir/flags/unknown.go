// SPDX-License-Identifier: Apache-2.0

package flags

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/pflag"
	"weir.dev/weir/internal/suggest"
)

// Explain adds to an error of parsing fs the nearest flag that exists, when one was written that does not.
// Other errors come back as they are.
func Explain(fs *pflag.FlagSet, err error) error {
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok {
		return err
	}
	var names []string
	fs.VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if near, ok := suggest.Nearest(unknown.GetSpecifiedName(), slices.Values(names)); ok {
		return fmt.Errorf("%w: did you mean --%s?", err, near)
	}
	return err
}
