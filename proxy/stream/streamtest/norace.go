// SPDX-License-Identifier: Apache-2.0

//go:build !race

package streamtest

// raceEnabled tells that allocations can be counted.
const raceEnabled = false
