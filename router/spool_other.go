//go:build !unix || solaris || aix

package router

import "os"

// lockSpool leaves it to bbolt to lock the file.
func lockSpool(*os.File) error { return nil }
