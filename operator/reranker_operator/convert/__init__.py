"""`reranker-operator convert`: NIMService manifests of NVIDIA's k8s-nim-operator become RerankerServices.

Nothing is dropped in silence: `Fields` knows what was read, and tells of all else.
"""

from reranker_operator.convert.documents import Converted, Wishes, convert
from reranker_operator.convert.files import FilesError, write_files
from reranker_operator.convert.reader import ConvertError

__all__ = ["ConvertError", "Converted", "FilesError", "Wishes", "convert", "write_files"]
