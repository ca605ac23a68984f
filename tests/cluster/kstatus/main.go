// Reads objects as JSON, one a line, and prints what kstatus says of each: the library by which Helm and Flux wait.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 8<<20)
	for lines.Scan() {
		object := &unstructured.Unstructured{}
		err := object.UnmarshalJSON(lines.Bytes())
		if err == nil {
			var result *status.Result
			if result, err = status.Compute(object); err == nil {
				err = json.NewEncoder(os.Stdout).Encode(map[string]string{
					"status": result.Status.String(), "message": result.Message,
				})
			}
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}
