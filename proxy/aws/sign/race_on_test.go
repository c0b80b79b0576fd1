// SPDX-License-Identifier: Apache-2.0

//go:build race

package sign

const raceEnabled = true
