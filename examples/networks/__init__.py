"""The five networks of the Collage paper and ResNet50: `NETWORKS["bert"].apply(params, x)`."""

from .bert import BERT
from .dcgan import DCGAN
from .nasnet import NASNET_A
from .network import Network as Network
from .resnet import RESNET3D50, RESNET50, RESNEXT50

NETWORKS: dict[str, Network] = {
    network.name: network for network in (BERT, DCGAN, NASNET_A, RESNET3D50, RESNEXT50, RESNET50)
}
